import "../scripted_service.ts";
