"""Reading and writing suites in the formats that people have them in, one module a format. Pure."""
