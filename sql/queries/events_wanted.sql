SELECT event, seconds FROM taskflow.events_wanted()
