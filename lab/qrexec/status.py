"""The exit status of core-qrexec's own programs, for what is none of a service's (``libqrexec/qrexec.h``)."""

#: No such service, refused by the policy, and all other failures.
NOT_FOUND, REFUSED, PROBLEM = 127, 126, 125
