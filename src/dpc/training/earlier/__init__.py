"""Training of the earlier learned codecs (dpc.networks.earlier), each at one rate, by one recipe's worth of text.

recipe.py    what a training depends on: codec, distortion, rate, crops, schedule
rate.py      the objective: distortion and rate in one number
trainer.py   from a recipe to weights; killed at any moment, it goes on from its checkpoint
"""
