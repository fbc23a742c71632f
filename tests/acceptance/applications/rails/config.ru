# frozen_string_literal: true

# A board of messages: Rails in one file, with Active Record, sessions in signed cookies, and Action Cable by PostgreSQL.

require "rails"
require "active_record/railtie"
require "action_controller/railtie"
require "action_cable/engine"

VERSION = ENV.fetch("VERSION")
ENV["DATABASE_URL"] = "postgresql://board@127.0.0.1:#{ENV.fetch("DB_PORT")}/postgres?pool=16"

class Site < Rails::Application
  config.load_defaults 7.2
  config.root = __dir__
  config.eager_load = true
  config.enable_reloading = false
  config.consider_all_requests_local = true
  config.secret_key_base = "of a test" * 8
  config.hosts.clear
  config.logger = ActiveSupport::Logger.new($stderr, level: :warn)
  config.log_level = :warn
  config.session_store :cookie_store, key: "_board"
  config.action_cable.mount_path = "/cable"
  config.action_cable.disable_request_forgery_protection = true
  config.action_dispatch.default_headers = config.action_dispatch.default_headers.merge("X-Version" => VERSION)
end

module ApplicationCable
  # One browser's connection: who has logged in.
  class Connection < ActionCable::Connection::Base
    identified_by :name

    def connect
      self.name = cookies.encrypted["_board"]&.fetch("name", nil) || reject_unauthorized_connection
    end
  end
end

class Message < ActiveRecord::Base
end

# What one writes, all see.
class BoardChannel < ActionCable::Channel::Base
  def subscribed
    stream_from "board"
  end

  def say(data)
    Message.insert({ key: data["key"], author: name, text: data["text"] }, unique_by: :key)
    ActionCable.server.broadcast("board", { shown: data["text"] })
    transmit({ written: data["key"] })
  end
end

class BoardController < ActionController::Base
  def page
    text = File.read(File.join(__dir__, "page.html"))
    render html: text.gsub("VERSION", VERSION).gsub("TOKEN", form_authenticity_token).gsub("NAME", session[:name].to_s).html_safe
  end

  def up
    render plain: "#{Message.count} messages"
  end

  def log_in
    session[:name] = params[:name]
    redirect_to "/"
  end

  def me
    render plain: session[:name].to_s, status: session[:name] ? 200 : 401
  end

  def messages
    render json: Message.order(:id).pluck(:key)
  end
end

CLIENT = ActionCable::Engine.root.join("app/assets/javascripts/actioncable.js").read
ActionCable.server.config.cable = { "adapter" => "postgresql" }
Site.initialize!
Site.routes.draw do
  root "board#page"
  get "cable.js", to: ->(_env) { [200, { "content-type" => "text/javascript" }, [CLIENT]] }
  get "up", to: "board#up"
  get "me", to: "board#me"
  get "messages", to: "board#messages"
  post "login", to: "board#log_in"
end

ActiveRecord::Base.connection.execute(<<~SQL)
  select pg_advisory_xact_lock(1); -- statements sent together are one transaction: held until it is committed
  create table if not exists messages (id bigserial primary key, key text unique not null, author text, text text);
  #{"alter table messages add column if not exists mood text default 'calm';" if VERSION != "1.0"}
SQL

run Site
