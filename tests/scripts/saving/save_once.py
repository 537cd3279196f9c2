"""Save to the path that is given."""

from saving import kind, path, saving

saving(kind, 1)(path)
