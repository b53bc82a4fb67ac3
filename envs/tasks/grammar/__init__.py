"""Goals as data: what may be asked for, how it is said, and which goal over states it is in a scene."""
