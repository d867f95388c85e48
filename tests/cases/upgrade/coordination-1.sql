BEGIN TRANSACTION;
CREATE TABLE alarm (
	id VARCHAR(32) NOT NULL, 
	code VARCHAR(64) NOT NULL, 
	subject VARCHAR(400) NOT NULL, 
	text VARCHAR(1000) NOT NULL, 
	since_ms INTEGER NOT NULL, 
	last_ms INTEGER NOT NULL, 
	count INTEGER NOT NULL, 
	until_ms INTEGER, 
	acknowledged_by VARCHAR(400), 
	acknowledged_ms INTEGER, 
	note VARCHAR(1000), 
	told BOOLEAN NOT NULL, 
	CONSTRAINT pk_alarm PRIMARY KEY (id)
);
CREATE TABLE api_key (
	id VARCHAR(32) NOT NULL, 
	secret_sha256 BLOB NOT NULL, 
	name VARCHAR(200) NOT NULL, 
	scope TEXT NOT NULL, 
	created_ms INTEGER NOT NULL, 
	created_by VARCHAR(64) NOT NULL, 
	expires_ms INTEGER, 
	last_used_ms INTEGER, 
	revoked_ms INTEGER, 
	CONSTRAINT pk_api_key PRIMARY KEY (id)
);
CREATE TABLE audit (
	seq INTEGER NOT NULL, 
	time_ms INTEGER NOT NULL, 
	who VARCHAR(400) NOT NULL, 
	action VARCHAR(64) NOT NULL, 
	subject VARCHAR(400) NOT NULL, 
	site VARCHAR(128), 
	detail TEXT NOT NULL, 
	hash VARCHAR(64) NOT NULL, 
	CONSTRAINT pk_audit PRIMARY KEY (seq)
);
INSERT INTO "audit" VALUES(1,1795000000000,'local','reservation.held','01M7Q5CQG04TFF59TDWH9EDD1R','ota','{"machines":["mc-1"],"version":1}','cef2a45062fab0f25c2125341fbc5dabf707e8d67ff6d1b3463627046d69d41f');
INSERT INTO "audit" VALUES(2,1795000000000,'local','reservation.held','01M7Q5CQG04TFF59TDWH9EDD1R','suwa','{"machines":["press-1"],"version":1}','36d113b1e05e3d654f2e274780af866c5ba4577ae03705aa3376ab2fdccc093e');
INSERT INTO "audit" VALUES(3,1795000000000,'local','reservation.confirmed','01M7Q5CQG04TFF59TDWH9EDD1R','ota','{"machines":["mc-1"],"version":2}','c66dfaf1ad589a4a85ddba8c85da633a27a3626fad6b7c5553984c97bdf72b1c');
INSERT INTO "audit" VALUES(4,1795000000000,'local','reservation.confirmed','01M7Q5CQG04TFF59TDWH9EDD1R','suwa','{"machines":["press-1"],"version":2}','3ddfe2a704db0917c529d5c15a19e825eafc76e464c4163b9c30e8b65acbce5d');
INSERT INTO "audit" VALUES(5,1795000060000,'local','reservation.held','01M7Q5EJ301HEAD8X4A1JH69RE','ota','{"machines":["mc-2"],"version":1}','5cdf9586c5e4f0eca124a68ed4b3233c103775dc7fbdc34eff009b4c6caf850d');
CREATE TABLE audit_head (
	id INTEGER NOT NULL, 
	seq INTEGER NOT NULL, 
	hash VARCHAR(64) NOT NULL, 
	CONSTRAINT pk_audit_head PRIMARY KEY (id)
);
INSERT INTO "audit_head" VALUES(1,5,'5cdf9586c5e4f0eca124a68ed4b3233c103775dc7fbdc34eff009b4c6caf850d');
CREATE TABLE broker_credential (
	username VARCHAR(128) NOT NULL, 
	site VARCHAR(128) NOT NULL, 
	agent VARCHAR(64) NOT NULL, 
	password VARCHAR(256) NOT NULL, 
	created_ms INTEGER NOT NULL, 
	CONSTRAINT pk_broker_credential PRIMARY KEY (username)
);
CREATE TABLE calendar (
	site VARCHAR(128) NOT NULL, 
	machine VARCHAR(400) NOT NULL, 
	version INTEGER NOT NULL, 
	calendar TEXT NOT NULL, 
	changed_ms INTEGER NOT NULL, 
	changed_by VARCHAR(400) NOT NULL, 
	CONSTRAINT pk_calendar PRIMARY KEY (site, machine)
);
CREATE TABLE calendar_head (
	id INTEGER NOT NULL, 
	last INTEGER NOT NULL, 
	CONSTRAINT pk_calendar_head PRIMARY KEY (id)
);
CREATE TABLE event (
	seq INTEGER NOT NULL, 
	type VARCHAR(64) NOT NULL, 
	time_ms INTEGER NOT NULL, 
	site VARCHAR(128) NOT NULL, 
	machine VARCHAR(400), 
	subject VARCHAR(400) NOT NULL, 
	data TEXT NOT NULL, 
	CONSTRAINT pk_event PRIMARY KEY (seq)
);
INSERT INTO "event" VALUES(1,'reservation.held',1795000000000,'ota','mc-1','01M7Q5CQG04TFF59TDWH9EDD1R','{"status":"held","version":1,"units":1,"start_ms":1795003600000,"end_ms":1795014400000}');
INSERT INTO "event" VALUES(2,'reservation.held',1795000000000,'suwa','press-1','01M7Q5CQG04TFF59TDWH9EDD1R','{"status":"held","version":1,"units":1,"start_ms":1795018000000,"end_ms":1795021600000}');
INSERT INTO "event" VALUES(3,'reservation.confirmed',1795000000000,'ota','mc-1','01M7Q5CQG04TFF59TDWH9EDD1R','{"status":"confirmed","version":2,"units":1,"start_ms":1795003600000,"end_ms":1795014400000}');
INSERT INTO "event" VALUES(4,'reservation.confirmed',1795000000000,'suwa','press-1','01M7Q5CQG04TFF59TDWH9EDD1R','{"status":"confirmed","version":2,"units":1,"start_ms":1795018000000,"end_ms":1795021600000}');
INSERT INTO "event" VALUES(5,'reservation.held',1795000060000,'ota','mc-2','01M7Q5EJ301HEAD8X4A1JH69RE','{"status":"held","version":1,"units":1,"start_ms":1795025200000,"end_ms":1795028800000}');
CREATE TABLE event_head (
	id INTEGER NOT NULL, 
	last INTEGER NOT NULL, 
	CONSTRAINT pk_event_head PRIMARY KEY (id)
);
INSERT INTO "event_head" VALUES(1,5);
CREATE TABLE idempotency_key (
	caller VARCHAR(200) NOT NULL, 
	"key" VARCHAR(255) NOT NULL, 
	digest VARCHAR(64) NOT NULL, 
	answer TEXT NOT NULL, 
	created_ms INTEGER NOT NULL, 
	CONSTRAINT pk_idempotency_key PRIMARY KEY (caller, "key")
);
INSERT INTO "idempotency_key" VALUES('local','kept','72e424d80eb1fa880ea17ecc660fce7da347bd9a72ede1ad88d601dcc5289476','{"held":{"id":"01M7Q5CQG04TFF59TDWH9EDD1R","status":"held","version":1,"created_ms":1795000000000,"changed_ms":1795000000000,"created_by":"local","organisation":null,"reference":"A-1","hold_expires_ms":1795000600000,"steps":[{"site":"ota","machine":"mc-1","units":1,"segments":[[1795003600000,1795007200000],[1795010800000,1795014400000]],"unscheduled":true},{"site":"suwa","machine":"press-1","units":1,"segments":[[1795018000000,1795021600000]],"unscheduled":true}],"risk":null,"risk_since_ms":null,"reason":null}}',1795000000000);
INSERT INTO "idempotency_key" VALUES('local','kept-too','66374b50ab07c02fc2ca1e6ecb4b65debab5878e6b0c8ff4509dd87f78a40081','{"held":{"id":"01M7Q5EJ301HEAD8X4A1JH69RE","status":"held","version":1,"created_ms":1795000060000,"changed_ms":1795000060000,"created_by":"local","organisation":null,"reference":null,"hold_expires_ms":1795000660000,"steps":[{"site":"ota","machine":"mc-2","units":1,"segments":[[1795025200000,1795028800000]],"unscheduled":true}],"risk":null,"risk_since_ms":null,"reason":null}}',1795000060000);
CREATE TABLE job (
	id VARCHAR(32) NOT NULL, 
	site VARCHAR(128) NOT NULL, 
	number VARCHAR(64) NOT NULL, 
	part VARCHAR(200) NOT NULL, 
	quantity INTEGER NOT NULL, 
	status VARCHAR(16) NOT NULL, 
	due_ms INTEGER, 
	external_ref VARCHAR(200), 
	note VARCHAR(2000), 
	version INTEGER NOT NULL, 
	created_ms INTEGER NOT NULL, 
	changed_ms INTEGER NOT NULL, 
	CONSTRAINT pk_job PRIMARY KEY (id), 
	CONSTRAINT uq_job_site_number UNIQUE (site, number)
);
CREATE TABLE job_run (
	id INTEGER NOT NULL, 
	job_id VARCHAR(32) NOT NULL, 
	seq INTEGER NOT NULL, 
	site VARCHAR(128) NOT NULL, 
	machine VARCHAR(128) NOT NULL, 
	start_ms INTEGER NOT NULL, 
	end_ms INTEGER, 
	good FLOAT NOT NULL, 
	scrap FLOAT NOT NULL, 
	CONSTRAINT pk_job_run PRIMARY KEY (id), 
	CONSTRAINT fk_job_run_job_id FOREIGN KEY(job_id) REFERENCES job (id) ON DELETE CASCADE
);
CREATE TABLE job_step (
	job_id VARCHAR(32) NOT NULL, 
	seq INTEGER NOT NULL, 
	process VARCHAR(64) NOT NULL, 
	site VARCHAR(128) NOT NULL, 
	machine VARCHAR(128), 
	cycle_s FLOAT, 
	setup_min FLOAT, 
	transport_min FLOAT, 
	status VARCHAR(16) NOT NULL, 
	good FLOAT NOT NULL, 
	scrap FLOAT NOT NULL, 
	CONSTRAINT pk_job_step PRIMARY KEY (job_id, seq), 
	CONSTRAINT fk_job_step_job_id FOREIGN KEY(job_id) REFERENCES job (id) ON DELETE CASCADE
);
CREATE TABLE look (
	hour_ms INTEGER NOT NULL, 
	caller VARCHAR(64) NOT NULL, 
	site VARCHAR(128) NOT NULL, 
	groups VARCHAR(400) NOT NULL, 
	organisation VARCHAR(128), 
	name TEXT NOT NULL, 
	count INTEGER NOT NULL, 
	last_ms INTEGER NOT NULL, 
	CONSTRAINT pk_look PRIMARY KEY (hour_ms, caller, site, groups)
);
CREATE TABLE machine (
	site VARCHAR(128) NOT NULL, 
	machine VARCHAR(400) NOT NULL, 
	name_ja VARCHAR(200), 
	name_en VARCHAR(200), 
	kind VARCHAR(200), 
	maker VARCHAR(200), 
	model VARCHAR(200), 
	capacity_units INTEGER, 
	rated_power_kw FLOAT, 
	envelope_x_mm FLOAT, 
	envelope_y_mm FLOAT, 
	envelope_z_mm FLOAT, 
	capabilities TEXT, 
	retired_ms INTEGER, 
	CONSTRAINT pk_machine PRIMARY KEY (site, machine)
);
CREATE TABLE machine_alias (
	site VARCHAR(128) NOT NULL, 
	machine VARCHAR(400) NOT NULL, 
	to_site VARCHAR(128) NOT NULL, 
	to_machine VARCHAR(400) NOT NULL, 
	moved_ms INTEGER NOT NULL, 
	CONSTRAINT pk_machine_alias PRIMARY KEY (site, machine)
);
CREATE TABLE mail_place (
	address VARCHAR(320) NOT NULL, 
	urgent_seq INTEGER NOT NULL, 
	other_seq INTEGER NOT NULL, 
	sent_ms INTEGER, 
	CONSTRAINT pk_mail_place PRIMARY KEY (address)
);
CREATE TABLE mail_told (
	address VARCHAR(320) NOT NULL, 
	code VARCHAR(64) NOT NULL, 
	subject VARCHAR(400) NOT NULL, 
	told_ms INTEGER NOT NULL, 
	CONSTRAINT pk_mail_told PRIMARY KEY (address, code, subject)
);
CREATE TABLE manual_state (
	id INTEGER NOT NULL, 
	site VARCHAR(128) NOT NULL, 
	machine VARCHAR(400) NOT NULL, 
	start_ms INTEGER NOT NULL, 
	until_ms INTEGER NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	reason VARCHAR(48) NOT NULL, 
	said_ms INTEGER NOT NULL, 
	said_by VARCHAR(400) NOT NULL, 
	CONSTRAINT pk_manual_state PRIMARY KEY (id)
);
CREATE TABLE meta (
	"key" VARCHAR(64) NOT NULL, 
	value VARCHAR(256) NOT NULL, 
	CONSTRAINT pk_meta PRIMARY KEY ("key")
);
INSERT INTO "meta" VALUES('schema_version','1');
CREATE TABLE one_time_code (
	code_sha256 BLOB NOT NULL, 
	purpose VARCHAR(16) NOT NULL, 
	site VARCHAR(128), 
	detail TEXT NOT NULL, 
	created_ms INTEGER NOT NULL, 
	created_by VARCHAR(64) NOT NULL, 
	expires_ms INTEGER NOT NULL, 
	CONSTRAINT pk_one_time_code PRIMARY KEY (code_sha256)
);
CREATE TABLE organisation (
	organisation VARCHAR(64) NOT NULL, 
	name_ja VARCHAR(200), 
	name_en VARCHAR(200), 
	kind VARCHAR(32) NOT NULL, 
	corporate_number VARCHAR(13), 
	contact VARCHAR(200), 
	CONSTRAINT pk_organisation PRIMARY KEY (organisation)
);
CREATE TABLE person (
	id VARCHAR(32) NOT NULL, 
	login VARCHAR(64) NOT NULL, 
	name VARCHAR(200) NOT NULL, 
	password VARCHAR(256) NOT NULL, 
	scope TEXT NOT NULL, 
	created_ms INTEGER NOT NULL, 
	version INTEGER NOT NULL, 
	disabled BOOLEAN NOT NULL, 
	CONSTRAINT pk_person PRIMARY KEY (id), 
	CONSTRAINT uq_person_login UNIQUE (login)
);
CREATE TABLE reason (
	site VARCHAR(128) NOT NULL, 
	code VARCHAR(48) NOT NULL, 
	"group" VARCHAR(48) NOT NULL, 
	ja VARCHAR(80) NOT NULL, 
	en VARCHAR(80) NOT NULL, 
	bucket VARCHAR(16) NOT NULL, 
	CONSTRAINT pk_reason PRIMARY KEY (site, code)
);
CREATE TABLE region_publication (
	prefecture VARCHAR(8) NOT NULL, 
	day_ms INTEGER NOT NULL, 
	body TEXT NOT NULL, 
	CONSTRAINT pk_region_publication PRIMARY KEY (prefecture)
);
CREATE TABLE reservation (
	id VARCHAR(26) NOT NULL, 
	status VARCHAR(16) NOT NULL, 
	version INTEGER NOT NULL, 
	created_ms INTEGER NOT NULL, 
	changed_ms INTEGER NOT NULL, 
	created_by VARCHAR(200) NOT NULL, 
	organisation VARCHAR(200), 
	reference VARCHAR(120), 
	hold_expires_ms INTEGER, 
	starts_ms INTEGER NOT NULL, 
	ends_ms INTEGER NOT NULL, 
	due_ms INTEGER, 
	risk VARCHAR(32), 
	risk_since_ms INTEGER, 
	reason VARCHAR(200), 
	CONSTRAINT pk_reservation PRIMARY KEY (id), 
	CONSTRAINT ck_reservation_hold_ends CHECK (status <> 'held' OR hold_expires_ms IS NOT NULL)
);
INSERT INTO "reservation" VALUES('01M7Q5CQG04TFF59TDWH9EDD1R','confirmed',2,1795000000000,1795000000000,'local',NULL,'A-1',1795000600000,1795003600000,1795021600000,1795003600000,NULL,NULL,NULL);
INSERT INTO "reservation" VALUES('01M7Q5EJ301HEAD8X4A1JH69RE','held',1,1795000060000,1795000060000,'local',NULL,NULL,1795000660000,1795025200000,1795028800000,1795000660000,NULL,NULL,NULL);
CREATE TABLE reservation_head (
	id INTEGER NOT NULL, 
	version INTEGER NOT NULL, 
	CONSTRAINT pk_reservation_head PRIMARY KEY (id)
);
INSERT INTO "reservation_head" VALUES(1,3);
CREATE TABLE reservation_segment (
	reservation VARCHAR(26) NOT NULL, 
	place INTEGER NOT NULL, 
	start_ms INTEGER NOT NULL, 
	end_ms INTEGER NOT NULL, 
	units INTEGER NOT NULL, 
	site VARCHAR(128) NOT NULL, 
	machine VARCHAR(400) NOT NULL, 
	CONSTRAINT pk_reservation_segment PRIMARY KEY (reservation, place, start_ms), 
	CONSTRAINT ck_reservation_segment_forward CHECK (start_ms < end_ms), 
	CONSTRAINT ck_reservation_segment_some CHECK (units > 0), 
	CONSTRAINT fk_reservation_segment_reservation FOREIGN KEY(reservation) REFERENCES reservation (id) ON DELETE CASCADE
);
INSERT INTO "reservation_segment" VALUES('01M7Q5CQG04TFF59TDWH9EDD1R',0,1795003600000,1795007200000,1,'ota','mc-1');
INSERT INTO "reservation_segment" VALUES('01M7Q5CQG04TFF59TDWH9EDD1R',0,1795010800000,1795014400000,1,'ota','mc-1');
INSERT INTO "reservation_segment" VALUES('01M7Q5CQG04TFF59TDWH9EDD1R',1,1795018000000,1795021600000,1,'suwa','press-1');
INSERT INTO "reservation_segment" VALUES('01M7Q5EJ301HEAD8X4A1JH69RE',0,1795025200000,1795028800000,1,'ota','mc-2');
CREATE TABLE reservation_step (
	reservation VARCHAR(26) NOT NULL, 
	place INTEGER NOT NULL, 
	site VARCHAR(128) NOT NULL, 
	machine VARCHAR(400) NOT NULL, 
	units INTEGER NOT NULL, 
	unscheduled BOOLEAN NOT NULL, 
	CONSTRAINT pk_reservation_step PRIMARY KEY (reservation, place), 
	CONSTRAINT fk_reservation_step_reservation FOREIGN KEY(reservation) REFERENCES reservation (id) ON DELETE CASCADE
);
INSERT INTO "reservation_step" VALUES('01M7Q5CQG04TFF59TDWH9EDD1R',0,'ota','mc-1',1,1);
INSERT INTO "reservation_step" VALUES('01M7Q5CQG04TFF59TDWH9EDD1R',1,'suwa','press-1',1,1);
INSERT INTO "reservation_step" VALUES('01M7Q5EJ301HEAD8X4A1JH69RE',0,'ota','mc-2',1,1);
CREATE TABLE session (
	token_sha256 BLOB NOT NULL, 
	id VARCHAR(32) NOT NULL, 
	person VARCHAR(32), 
	name VARCHAR(200) NOT NULL, 
	scope TEXT, 
	created_ms INTEGER NOT NULL, 
	used_ms INTEGER NOT NULL, 
	expires_ms INTEGER NOT NULL, 
	CONSTRAINT pk_session PRIMARY KEY (token_sha256), 
	CONSTRAINT uq_session_id UNIQUE (id)
);
CREATE TABLE sharing (
	site VARCHAR(128) NOT NULL, 
	version INTEGER NOT NULL, 
	grants TEXT NOT NULL, 
	changed_ms INTEGER NOT NULL, 
	changed_by VARCHAR(64) NOT NULL, 
	CONSTRAINT pk_sharing PRIMARY KEY (site)
);
CREATE TABLE site (
	site VARCHAR(128) NOT NULL, 
	organisation VARCHAR(64), 
	name_ja VARCHAR(200), 
	name_en VARCHAR(200), 
	time_zone VARCHAR(64), 
	lat FLOAT, 
	lon FLOAT, 
	municipality VARCHAR(64), 
	groups TEXT, 
	day_start_min INTEGER, 
	grid_factor_kg_per_kwh FLOAT, 
	CONSTRAINT pk_site PRIMARY KEY (site), 
	CONSTRAINT fk_site_organisation FOREIGN KEY(organisation) REFERENCES organisation (organisation)
);
CREATE TABLE state_label (
	id INTEGER NOT NULL, 
	site VARCHAR(128) NOT NULL, 
	machine VARCHAR(400) NOT NULL, 
	start_ms INTEGER NOT NULL, 
	end_ms INTEGER, 
	reason VARCHAR(48), 
	note VARCHAR(400) NOT NULL, 
	"before" VARCHAR(200) NOT NULL, 
	said_ms INTEGER NOT NULL, 
	said_by VARCHAR(400) NOT NULL, 
	CONSTRAINT pk_state_label PRIMARY KEY (id)
);
CREATE TABLE webhook (
	id VARCHAR(32) NOT NULL, 
	url VARCHAR(2000) NOT NULL, 
	sites TEXT NOT NULL, 
	types TEXT NOT NULL, 
	description VARCHAR(200) NOT NULL, 
	"key" VARCHAR(32) NOT NULL, 
	generation INTEGER NOT NULL, 
	paused VARCHAR(200), 
	version INTEGER NOT NULL, 
	created_ms INTEGER NOT NULL, 
	cursor INTEGER NOT NULL, 
	tries INTEGER NOT NULL, 
	next_ms INTEGER NOT NULL, 
	delivered INTEGER NOT NULL, 
	missed INTEGER NOT NULL, 
	failing_since_ms INTEGER, 
	last_ms INTEGER, 
	last_status INTEGER, 
	last_error VARCHAR(400), 
	CONSTRAINT pk_webhook PRIMARY KEY (id)
);
CREATE TABLE webhook_dead_letter (
	id INTEGER NOT NULL, 
	webhook VARCHAR(32) NOT NULL, 
	seq INTEGER NOT NULL, 
	type VARCHAR(64) NOT NULL, 
	message VARCHAR(64) NOT NULL, 
	time_ms INTEGER NOT NULL, 
	body TEXT NOT NULL, 
	tries INTEGER NOT NULL, 
	status INTEGER, 
	error VARCHAR(400), 
	dead_ms INTEGER NOT NULL, 
	again INTEGER NOT NULL, 
	CONSTRAINT pk_webhook_dead_letter PRIMARY KEY (id), 
	CONSTRAINT fk_webhook_dead_letter_webhook FOREIGN KEY(webhook) REFERENCES webhook (id) ON DELETE CASCADE
);
CREATE INDEX ix_session_expires_ms ON session (expires_ms);
CREATE INDEX ix_session_person ON session (person);
CREATE INDEX ix_one_time_code_expires_ms ON one_time_code (expires_ms);
CREATE INDEX ix_alarm_until_ms ON alarm (until_ms);
CREATE INDEX ix_audit_site_seq ON audit (site, seq);
CREATE INDEX ix_event_time_ms ON event (time_ms);
CREATE INDEX ix_job_created ON job (created_ms, id);
CREATE INDEX ix_manual_state_place ON manual_state (site, machine, start_ms);
CREATE INDEX ix_state_label_place ON state_label (site, machine, start_ms);
CREATE INDEX ix_reservation_due_ms ON reservation (due_ms);
CREATE INDEX ix_reservation_status ON reservation (status, created_by);
CREATE INDEX ix_reservation_created_by ON reservation (created_by, id);
CREATE INDEX ix_reservation_changed_ms ON reservation (changed_ms);
CREATE INDEX ix_idempotency_key_created_ms ON idempotency_key (created_ms);
CREATE INDEX ix_look_site_hour_ms ON look (site, hour_ms);
CREATE INDEX ix_job_step_place ON job_step (site, machine, status);
CREATE INDEX ix_job_run_job ON job_run (job_id);
CREATE INDEX ix_job_run_place ON job_run (site, machine, start_ms);
CREATE INDEX ix_reservation_step_site ON reservation_step (site, machine, reservation);
CREATE INDEX ix_reservation_segment_end_ms ON reservation_segment (site, machine, end_ms);
CREATE INDEX ix_webhook_dead_letter_of ON webhook_dead_letter (webhook, id);
COMMIT;
