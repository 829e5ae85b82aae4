"""A XenStore daemon that keeps the rules of Xen's own, and needs no Xen.

``tree`` holds nodes, ``permissions`` says who may do what, ``transaction`` isolates changes, ``watches`` says who is
told, ``domains`` who is there, ``store`` carries out requests in terms of these, ``server`` does the sockets.
"""
