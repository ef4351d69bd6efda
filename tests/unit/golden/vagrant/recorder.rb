# Evaluates a Vagrantfile with a Vagrant that only writes down what it is told; prints that as JSON.
require "json"

class Recorder
  def initialize
    @told = {}
  end

  attr_reader :told

  def method_missing(name, *args, **named, &block)
    key = name.to_s
    if key.end_with?("=")
      @told[key.chomp("=")] = args.first
    elsif block
      kept = (@told[key] ||= {})[args.first.to_s] ||= Recorder.new
      block.call(kept)
    elsif args.empty? && named.empty?
      @told[key] ||= Recorder.new
    else
      (@told[key] ||= []) << [*args, *(named.empty? ? [] : [named])]
    end
  end

  def respond_to_missing?(*)
    true
  end

  def to_json(*args)
    @told.to_json(*args)
  end
end

module Vagrant
  CONFIG = Recorder.new

  def self.configure(_version)
    yield CONFIG
  end
end

load ARGV.fetch(0)
puts JSON.pretty_generate(JSON.parse(Vagrant::CONFIG.to_json))
