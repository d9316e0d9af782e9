"""Admission: orders are refused while those before them wait too long, instead of being promised what cannot be kept.

What waits is read from the orders themselves, so it is the same on every broker and for every copy. Delayed orders do
not count: they wait for another system, not for their turn.

A queue serves in the order of arrival, so a customer who fills it delays all others. From half of the permitted age on,
only those are served who hold no more than an even share of what waits: one customer alone, with however many orders,
delays another's by at most half of it.
"""
