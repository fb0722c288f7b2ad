# printed too much: no more of it is read
while True:
    print("more " * 1000)
