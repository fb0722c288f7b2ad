# failed: memory is refused
parts = []
while True:
    parts.append(bytes(16 << 20))
