SELECT taskflow.register_types(%s::jsonb)
