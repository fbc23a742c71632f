"""A client of `deploy serve`: what the commands ask, asked over HTTP.

`calls` makes single requests, `stream` follows events over broken connections, `client` asks questions, and `orders`
gives orders and follows them to their end. It knows data, never a store, a driver or an operation.
"""
