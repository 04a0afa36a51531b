"""Telnet negotiation in front of a command, as PuTTY sends it in Telnet mode (RFC 854)."""

_IAC = 0xFF
_SUBNEGOTIATION = 0xFA
_SUBNEGOTIATION_END = b"\xff\xf0"
_OPTION_COMMANDS = range(0xFB, 0xFF)  # WILL, WON'T, DO, DON'T: one octet follows


def without_negotiation(line: bytes) -> bytes:
    """Return `line` without the telnet commands it begins with; the server agrees to no option by silence."""
    start = 0
    while line[start : start + 1] == b"\xff" and start + 1 < len(line):
        command = line[start + 1]
        if command in _OPTION_COMMANDS:
            start += 3
        elif command == _SUBNEGOTIATION:
            end = line.find(_SUBNEGOTIATION_END, start)
            if end < 0:
                break
            start = end + 2
        elif command == _IAC:  # an escaped 0xFF is data
            break
        else:
            start += 2
    return line[start:]
