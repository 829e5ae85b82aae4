"""A client double with the face of Qubes' ``qubesadmin``, for hosts where that is not installed.

No package registry has the real one. This has what the library uses of it, speaks the same protocol to the lab's
qubesd, and raises errors of the same names. A lab of R4 has it on its dom0's path; where the real client can be
imported, the tests take that.
"""
