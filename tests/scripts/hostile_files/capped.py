"""With one gigabyte to take: what claims more is a ValueError all the same, not a MemoryError."""

import resource

from every_file import every, files, use_every_file

resource.setrlimit(resource.RLIMIT_AS, (files.address_space() + files.ADDRESS_SPACE,) * 2)
use_every_file()
try:
    bytearray(files.ADDRESS_SPACE)
except MemoryError:
    print(len(every))
