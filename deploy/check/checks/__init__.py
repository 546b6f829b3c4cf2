"""What is checked about everything in `deploy`, without a cluster, a container engine or a network.

`tree` reads it, each other module has one kind of check: a function that takes the tree and yields what is
wrong, a line each, naming the file or the object and what to do.
"""
