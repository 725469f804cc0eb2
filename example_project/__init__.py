"""A small CRM that shows cti_django at work. Read it as the tutorial: settings, asgi, urls, then crm/."""
