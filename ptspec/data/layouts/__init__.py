"""Convert a row from a file's columns to TRL's columns. Imports no torch.

`turns` normalises messages, `table` recognises layouts by columns, `pairs` finds the prompt that two answers
share, `convert` makes TRL's rows, `evaluation` the rows of an evaluation. Only this package interprets a row.
"""
