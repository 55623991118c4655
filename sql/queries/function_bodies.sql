SELECT p.proname AS name, p.prosrc AS body FROM pg_proc p WHERE p.pronamespace = 'taskflow'::regnamespace
