"""Users, roles and permissions as the tables of WSO2's Carbon have them (ADR 52)."""
