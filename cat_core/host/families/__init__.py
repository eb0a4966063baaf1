"""Architectures that can be pruned, a file each; whatever :class:`..architecture.family.Family` is here is served."""
