"""Pure floor: codecs and protocol machines. No I/O, no clock, no Django, and nothing of ``calls/``.

A codec turns bytes or text into values and back, and raises nothing but a ``WireError``. A machine is fed with
``receive_data``; it gives ``events_received`` and ``data_to_send``, and says by ``next_deadline`` when it wants
``handle_timeout``.
"""

__all__: list[str] = []
