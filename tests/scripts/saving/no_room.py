"""Save for which there is no room: the variable FULL says in Python how that comes."""

import os

from saving import kind, path, saving, told

saving(kind, 1)(path)
exec(os.environ["FULL"])
print(told(saving(kind, 2, hidden=5000), path))
