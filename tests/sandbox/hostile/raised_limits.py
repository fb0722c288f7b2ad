# passed: no limit can be raised
import resource

names = ["RLIMIT_AS", "RLIMIT_CPU", "RLIMIT_FSIZE", "RLIMIT_NOFILE", "RLIMIT_NPROC", "RLIMIT_CORE"]
for name in names:
    limit = getattr(resource, name)
    most = resource.getrlimit(limit)[1]
    assert most != resource.RLIM_INFINITY, name
    try:
        resource.setrlimit(limit, (most + 1, most + 1))
        raise SystemExit(name)
    except (OSError, ValueError):
        pass
