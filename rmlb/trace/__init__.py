"""Copies of messages for people: ladders, HEP3. Fed by a tap, only while somebody asks.

    transport: Exchange --Tap--> copies.CopyRing --tracing.Tracing--> watchers
    watchers: the admin API's trace stream, collector.HepSender, recorder.Recorder

copies, reading, ladder, hep and recorder are PURE; tracing and collector are SHELL.
"""
