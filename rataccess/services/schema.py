"""The tables of a service's store.

Rules of this file: SQL text only.  `device` is an enrolment (one kid): record numbers, replay windows and floors belong to
it, and a device that was enrolled anew starts new ones.  What people ask for (objects, environment) goes by serial number.
"""

VERSION = 1

SCHEMA = """
CREATE TABLE devices(
  id INTEGER PRIMARY KEY, serial_number TEXT NOT NULL, kid BLOB NOT NULL,
  received BLOB, replay BLOB, heard_at REAL, link TEXT, paths BLOB,
  last_number INTEGER NOT NULL DEFAULT 0, environment BLOB,
  UNIQUE (serial_number, kid)) STRICT;
CREATE TABLE queues(
  device INTEGER NOT NULL, id INTEGER NOT NULL, name TEXT NOT NULL, PRIMARY KEY (device, id)) STRICT, WITHOUT ROWID;
CREATE TABLE records(
  id INTEGER PRIMARY KEY, device INTEGER NOT NULL, number INTEGER NOT NULL, queue TEXT NOT NULL,
  urgency INTEGER NOT NULL, captured_at REAL, received_at REAL NOT NULL, link TEXT, body BLOB NOT NULL) STRICT;
CREATE UNIQUE INDEX records_once ON records(device, number);
CREATE TABLE parked(
  device INTEGER NOT NULL, number INTEGER NOT NULL, queue_id INTEGER NOT NULL, urgency INTEGER NOT NULL,
  captured_at REAL, received_at REAL NOT NULL, link TEXT, body BLOB NOT NULL, PRIMARY KEY (device, number)) STRICT;
CREATE TABLE partials(
  device INTEGER NOT NULL, number INTEGER NOT NULL, queue_id INTEGER NOT NULL, urgency INTEGER NOT NULL,
  captured_at REAL, total INTEGER NOT NULL, PRIMARY KEY (device, number)) STRICT, WITHOUT ROWID;
CREATE TABLE fragments(
  device INTEGER NOT NULL, number INTEGER NOT NULL, start INTEGER NOT NULL, body BLOB NOT NULL,
  PRIMARY KEY (device, number, start)) STRICT;
CREATE TABLE objects(
  serial_number TEXT NOT NULL, name TEXT NOT NULL, value BLOB NOT NULL, device INTEGER NOT NULL,
  number INTEGER NOT NULL, captured_at REAL, received_at REAL NOT NULL,
  PRIMARY KEY (serial_number, name)) STRICT, WITHOUT ROWID;
CREATE TABLE health(
  serial_number TEXT PRIMARY KEY, value BLOB NOT NULL, device INTEGER NOT NULL, number INTEGER NOT NULL,
  captured_at REAL, received_at REAL NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE outbound(
  device INTEGER NOT NULL, number INTEGER NOT NULL, queue_id INTEGER NOT NULL, urgency INTEGER NOT NULL,
  created_at REAL NOT NULL, body BLOB NOT NULL, PRIMARY KEY (device, number)) STRICT;
CREATE TABLE outbound_queues(
  device INTEGER NOT NULL, id INTEGER NOT NULL, name TEXT NOT NULL, known INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (device, id)) STRICT, WITHOUT ROWID;
CREATE TABLE fleet_environment(
  fleet TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (fleet, name)) STRICT, WITHOUT ROWID;
CREATE TABLE device_environment(
  serial_number TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL,
  PRIMARY KEY (serial_number, name)) STRICT, WITHOUT ROWID;
CREATE TABLE memory(key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE counters(name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE forwarding(
  only INTEGER PRIMARY KEY CHECK (only = 1), record INTEGER NOT NULL, position INTEGER NOT NULL) STRICT;
INSERT INTO forwarding VALUES (1, 0, 0);
"""
