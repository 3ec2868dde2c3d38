"""The official LIBERO-Plus, from a repository and assets that the user has; nothing of it is part of this package."""
