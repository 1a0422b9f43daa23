"""Words of the theme in Korean, which Sphinx's own catalogue does not have."""

KOREAN = {
    "On this page": "이 페이지의 내용",
    "Contents": "목차",
    "Search": "검색",
    "Next": "다음",
    "Previous": "이전",
    "Home": "처음",
    "Skip to content": "본문으로 건너뛰기",
    "Toggle Light / Dark / Auto color theme": "밝은 화면·어두운 화면·자동 전환",
    "Toggle site navigation sidebar": "목차 열기와 닫기",
    "Toggle table of contents sidebar": "이 페이지의 내용 열기와 닫기",
    "Back to top": "맨 위로",
    "Hide navigation sidebar": "목차 닫기",
    "Hide table of contents sidebar": "이 페이지의 내용 닫기",
    "Expand": "펼치기",
    "Collapse": "접기",
}
