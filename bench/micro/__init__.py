"""One operation each, in this process: header codecs, records, the store."""
