"""What a row is: from the columns that a file has to the columns that TRL takes. Imports no torch.

`turns` normalises messages, `table` tells layouts by their columns, `pairs` finds the prompt that two answers
share, `convert` makes TRL's rows, `evaluation` the rows of an evaluation. Nobody else reads a row's meaning.
"""
