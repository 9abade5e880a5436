"""`pt init --from`: a recipe from a config of TRL's command line, alignment-handbook, axolotl, LLaMA-Factory.

One module a program says where its keys go; what they share (the table of other programs' keys, values,
sources, rewards, the chain) has a module each.
"""
