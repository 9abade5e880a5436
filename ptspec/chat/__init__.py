"""Chat with policies: `models` opens them, `generate` makes one answer, `session` keeps the conversation.

These three are independent of the terminal; `lines` interprets typed lines, `terminal` and `piped` are the
two front ends.
"""
