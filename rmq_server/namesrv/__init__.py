"""The NameServer: route tables fed by brokers, asked by clients."""
