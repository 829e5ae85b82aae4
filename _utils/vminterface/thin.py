"""Lets ``salt-ssh`` take the library along to where it sends the Salt-facing files of an installed package.

Salt 3008 puts into its thin package whatever package has an entry point in the group ``salt.loader``; the library has
one for that alone, as it is a package of its own beside ``saltext.vminterface``. Other releases do so where the
master's ``thin_extra_mods`` names ``vminterface``.
"""


def loader_dirs() -> dict[str, list[str]]:
    """Return the folders of Salt-facing files: there are none in here."""
    return {}
