"""Display forms of records, shared by screens and pages.

Strings, units, tones and reasons, without layout.
"""
