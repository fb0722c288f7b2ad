# failed: there is no such file
print(open("/etc/passwd").read())
