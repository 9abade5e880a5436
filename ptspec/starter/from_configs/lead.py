"""The default method of a config that names none: the one that others follow."""

from __future__ import annotations

from ptspec.methods import all_of_them

LEAD = next(one for one in all_of_them() if one.starter.leads)
