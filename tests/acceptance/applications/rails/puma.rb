# frozen_string_literal: true

environment "production"
bind "tcp://#{ENV.fetch("HOST")}:#{ENV.fetch("PORT")}"
threads 5, 5
quiet
force_shutdown_after 8 # seconds: a browser that keeps its connection must not keep the server
