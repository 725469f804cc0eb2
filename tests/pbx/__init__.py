"""A real Asterisk, real SIP phones and a public network, all on 127.0.0.1 and on ports of their own."""
