"""Saves with some MB more each time, until there is enough; until then MemoryError, and the old file."""

import os
import resource
import sys

from fastmlp import MLP

path = sys.argv[1]
MLP((3, 4, 1)).save(path)
net = MLP((999, 20_000, 1), seed=1)  # 80 MB
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
for spare in range(20, 420, 40):
    resource.setrlimit(resource.RLIMIT_AS, (used + spare * 2**20, resource.RLIM_INFINITY))
    try:
        net.save(path)
    except MemoryError:
        assert os.listdir(os.path.dirname(path)) == ["net"]
        assert MLP.load(path).sizes == (3, 4, 1)
        print("refused")
        continue
    print("saved")
    break
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert (MLP.load(path).parameters == net.parameters).all()
