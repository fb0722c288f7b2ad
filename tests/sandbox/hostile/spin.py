# out of time: of computing
while True:
    pass
