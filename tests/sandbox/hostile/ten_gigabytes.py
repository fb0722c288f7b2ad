# failed: memory is refused
whole = bytearray(10 << 30)
