"""Files, and networks in the forms that other programs take: behind the methods of `MLP`."""
