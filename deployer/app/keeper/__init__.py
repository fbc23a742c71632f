"""The keeper: what runs of each live service is what it should be, also between rollouts.

free        whether a service may be adjusted now
load_watch  looks at the load of a service whose manifest has `scale`, and has its size follow
move_watch  looks whether an engine has started an instance of a service elsewhere, and has that followed
outlook     what the keeper did last of a service and does next; which keys of a manifest need one
keeper      looks at all services again and again, in the server or alone
"""
