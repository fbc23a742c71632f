"""The page of `deploy serve`: HTML that is written here, kept fresh by one small script that listens to the events.

What it shows is what the queries tell; what it does are requests to the API. Each page is whole without the script.
"""
