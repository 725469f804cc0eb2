"""Turn any Django CRM into a telephony desk.

This package imports nothing, so that its pure floors (``calls``, ``wire``, ``connectors``) load without Django.
"""

__version__ = "0.1.0"
