SELECT taskflow.publish_events(%s::text)
