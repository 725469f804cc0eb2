"""A project that is as different as may be: its own user model with a UUID as key, and the CRM in another database."""
