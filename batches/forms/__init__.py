"""Forms of the admin that are more than the fields of a model."""
