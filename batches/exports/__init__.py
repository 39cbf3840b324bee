"""Results as files: for spreadsheets, programs, CI servers and readers."""
