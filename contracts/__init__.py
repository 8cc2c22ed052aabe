"""What crosses a boundary: messages, topic names, the stored record, errors and metric names.

Everything here is a plain value or a rule about one. It imports nothing else of Ebbtide.
"""
